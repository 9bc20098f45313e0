FROM base:1 AS a
RUN echo a > /a
FROM base:1 AS b
RUN echo b > /b
FROM base:1 AS c
COPY --from=a /a /a
COPY --from=b /b /b
RUN cat /a /b > /c
FROM base:1
COPY --from=c /a /b /c /all/
