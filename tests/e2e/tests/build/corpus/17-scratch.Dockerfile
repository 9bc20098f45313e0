FROM scratch
COPY plain /plain
ENV a=b
CMD ["/plain"]
