FROM base:1 AS one
RUN echo one > /one
FROM no-such-image-anywhere AS unused
RUN false
FROM base:1 AS two
COPY --from=one /one /two
FROM two AS three
RUN echo three > /three
# options: --target two
