FROM base:1 AS parent
ONBUILD RUN echo triggered > /triggered
ONBUILD COPY plain /plain
ONBUILD ENV trigger=yes
FROM parent AS child
RUN test -f /triggered
FROM child
RUN echo last > /last
