# syntax=docker/dockerfile:1
FROM base:1
COPY --parents tree/sub/leaf glob/a.txt /parents/
COPY --parents tree/./sub/leaf /pivot/
# options: labs
