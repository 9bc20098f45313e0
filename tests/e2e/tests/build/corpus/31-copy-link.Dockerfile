FROM base:1

COPY --link plain /linked/plain
COPY --link tree /linked/tree/
RUN cat /linked/plain > /read
