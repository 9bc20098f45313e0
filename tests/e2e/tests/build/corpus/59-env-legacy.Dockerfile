FROM base:1

ENV legacy the rest  of "the" line
ENV a=1 b=2 \
    c=3
ENV quote="a \"b\" \\ c"
RUN env | grep -E '^(legacy|a|b|c|quote)=' > /out
