FROM base:1

RUN mkdir -p /a/b/c && echo 1 > /a/b/c/1 && echo 2 > /a/b/c/2
RUN rm /a/b/c/1
RUN rm -r /a/b && mkdir /a/b && echo 3 > /a/b/3
RUN rm -r /a && echo file > /a
