FROM base:1

HEALTHCHECK CMD ["echo", "ok"]
