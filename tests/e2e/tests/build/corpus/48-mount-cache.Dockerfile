FROM base:1

RUN --mount=type=cache,target=/cache,mode=0700,uid=33,gid=50 stat -c '%a %u %g' /cache > /out; echo cached > /cache/file
RUN --mount=type=cache,target=/cache,mode=0700,uid=33,gid=50 cat /cache/file > /second
RUN test ! -e /cache/file
