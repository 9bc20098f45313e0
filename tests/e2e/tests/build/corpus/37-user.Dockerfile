FROM base:1

USER www-data
RUN id > /tmp/one
USER 33:50
RUN id > /tmp/two
USER nobody:staff
RUN id > /tmp/three
USER 4242
RUN id -u > /tmp/four
