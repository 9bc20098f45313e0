FROM scratch
ENV OTHER=x
ENV PATH=/custom:$PATH
COPY plain /
