FROM base:1

COPY --chmod=600 plain /octal
COPY --chmod=4755 plain /setuid
COPY --chmod=0644 tree /tree/
