FROM base:1

ENV ünïcode="☃ snow"
LABEL 日本=語
COPY <<EOF /snow-☃
☃
EOF
RUN echo "☃" > /out
