FROM base:1

COPY glob/*.txt /txt/
COPY glob/?.md /md/
COPY glob/[ab]*.txt /class/
COPY none*.zip plain /nothing/
COPY tree/*/leaf /leaf/
