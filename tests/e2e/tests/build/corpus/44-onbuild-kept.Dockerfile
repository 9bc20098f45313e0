FROM base:1

ONBUILD RUN <<EOF
echo here
EOF
ONBUILD COPY . /app
ONBUILD USER www-data
