FROM base:1 AS same
RUN echo first > /which
FROM base:1 AS same
RUN echo second > /which
FROM base:1
COPY --from=same /which /
