FROM base:1

ADD archive.tar /plain/
ADD archive.tar.gz /gz/
ADD archive.notar /named-otherwise/
ADD plain /plain-file
COPY archive.tar /kept/
