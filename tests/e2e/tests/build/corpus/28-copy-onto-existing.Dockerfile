FROM base:1

RUN mkdir -p /t/sub && chmod 700 /t && chown 33:33 /t && chmod 711 /t/sub && echo old > /t/sub/leaf
COPY tree /t/
