FROM base:1

LABEL one=1
LABEL one=2 two="a b" three='c d' four=e\ f
LABEL old form value
LABEL multi="a\
b"
# options: --label two=cli --label five=5
