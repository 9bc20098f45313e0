FROM base:1

WORKDIR relative
WORKDIR deeper/./x/../y/
USER www-data
WORKDIR /owned/by/user
WORKDIR /
RUN pwd > /tmp/pwd
WORKDIR /etc
