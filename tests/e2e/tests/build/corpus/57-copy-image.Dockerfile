FROM base:1

COPY --from=base:1 /etc/passwd /other-passwd
COPY --from=base:1 /var /var-copy/
