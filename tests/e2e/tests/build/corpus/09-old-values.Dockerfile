FROM base:1

ENV x=1
ENV x=2 y=$x
ENV x=3
ENV z=$x
ARG p=1 q=$p
RUN echo "$y $z $q" > /out
