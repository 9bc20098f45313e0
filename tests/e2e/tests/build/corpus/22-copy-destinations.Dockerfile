FROM base:1

WORKDIR /w
COPY plain name
COPY plain dir/
COPY plain .
COPY plain ./x/y
COPY plain /abs/
COPY plain /var/www
COPY ../../plain /up
COPY /plain /rooted
