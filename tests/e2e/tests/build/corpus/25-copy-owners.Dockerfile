FROM base:1

COPY --chown=www-data:staff plain /names
COPY --chown=33 plain /number
COPY --chown=33:50 tree /numbers/
COPY --chown=www-data plain /user-only
COPY --chown=0:www-data plain /mixed
COPY --chown=1234:5678 plain /new/dir/file
