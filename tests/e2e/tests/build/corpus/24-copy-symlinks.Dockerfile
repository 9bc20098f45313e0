FROM base:1

COPY links/to-file /followed
COPY links/to-dir /followed-dir/
COPY links /links/
RUN ln -s /var /alias
COPY plain /alias/through
