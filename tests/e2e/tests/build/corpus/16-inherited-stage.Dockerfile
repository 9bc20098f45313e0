FROM base:1 AS parent
ENV e=parent
ARG a=arg
WORKDIR /work
USER www-data
LABEL l=parent
SHELL ["/bin/sh", "-e", "-c"]
CMD echo parent
FROM parent
RUN echo "$e $a $PWD" > /tmp/out
LABEL m=child
