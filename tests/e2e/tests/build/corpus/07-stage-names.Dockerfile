FROM base:1 AS Build
RUN echo built > /built
FROM base:1 as second
COPY --from=BUILD /built /from-name
COPY --from=0 /built /from-index
FROM second
RUN echo last > /last
