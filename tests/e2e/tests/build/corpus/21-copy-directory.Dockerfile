FROM base:1

COPY tree /tree
COPY tree/ /tree-slash/
COPY tree/sub plain /both/
