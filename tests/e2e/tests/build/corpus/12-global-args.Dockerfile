ARG tag=1
ARG base=base:$tag
FROM $base AS one
RUN echo "[$tag]" > /out
ARG tag
RUN echo "[$tag]" >> /out
FROM one
ARG tag=own
RUN echo "[$tag]" >> /out
