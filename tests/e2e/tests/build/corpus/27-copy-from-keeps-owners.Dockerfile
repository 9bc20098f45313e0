FROM base:1 AS src
RUN mkdir -p /d/e && echo x > /d/e/f && chown -R 33:50 /d && chmod 700 /d/e && chmod 4711 /d/e/f
FROM base:1
COPY --from=src /d /copied
COPY --from=src /d/e/f /file
COPY --from=src --chown=1:2 /d /changed/
