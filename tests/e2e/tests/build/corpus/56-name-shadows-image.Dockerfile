FROM base:1 AS busybox
RUN echo shadow > /shadow
FROM busybox
RUN cat /shadow > /out
