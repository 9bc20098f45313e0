FROM base:1

RUN echo new > /etc/new && rm /etc/group && mkdir -p /var/www/deep/er && chmod 750 /var && chown 33:50 /tmp
RUN rm -r /var/www && mkdir /var/www && echo again > /var/www/x
RUN ln -s /etc/new /link && ln /etc/new /hard && mkfifo /pipe && chmod 4711 /etc/passwd
RUN touch /etc/new
