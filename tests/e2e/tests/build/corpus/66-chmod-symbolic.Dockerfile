# syntax=docker/dockerfile:1.14
FROM base:1
COPY --chmod=u=rwX,go=rX tree /tree/
COPY --chmod=+x plain /x
COPY --chmod=go-rwx plain /private
# options: labs
