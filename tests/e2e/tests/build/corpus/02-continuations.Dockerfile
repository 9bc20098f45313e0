FROM base:1

RUN echo a \
# a comment within
    && echo b \

    && echo c > /out
run echo lower \   
 > /low
