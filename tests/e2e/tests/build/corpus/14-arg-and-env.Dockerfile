FROM base:1

ENV first=env
ARG first=arg
RUN echo $first > /first
ARG second=arg
ENV second=env
RUN echo $second > /second
