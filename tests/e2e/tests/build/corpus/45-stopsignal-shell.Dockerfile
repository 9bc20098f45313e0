FROM base:1

STOPSIGNAL 9
SHELL ["/bin/sh", "-x", "-c"]
RUN echo shell > /out
CMD echo shell
SHELL ["/bin/busybox", "sh", "-c"]
ENTRYPOINT echo other
