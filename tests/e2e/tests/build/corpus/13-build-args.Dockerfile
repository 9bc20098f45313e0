FROM base:1

ARG given=default
ARG other=default
ARG unset
RUN echo "$given $other [${unset-none}]" > /out
LABEL given=$given
# options: --build-arg given=cli --build-arg unset
