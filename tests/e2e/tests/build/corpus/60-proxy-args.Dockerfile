FROM base:1

RUN echo "[$HTTP_PROXY][$http_proxy]" > /out
ARG NO_PROXY
RUN echo "[$NO_PROXY]" >> /out
# options: --build-arg HTTP_PROXY=http://p:1 --build-arg NO_PROXY=example.com
