FROM base:1

COPY hard /hard/
RUN ln /etc/passwd /etc/again
