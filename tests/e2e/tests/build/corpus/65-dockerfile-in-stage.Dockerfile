FROM base:1 AS first
WORKDIR /src
COPY . .
RUN find . | sort > /list 2>/dev/null || ls > /list
FROM scratch
COPY --from=first /list /list
