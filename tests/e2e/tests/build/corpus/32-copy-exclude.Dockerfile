FROM base:1

COPY --exclude=*.md --exclude=a* glob /glob/
COPY --exclude=sub tree /tree/
