FROM base:1 AS dep
RUN echo never > /plain
FROM base:1
COPY --from=dep /plain /plain
# options: --build-context dep=tree/extra
