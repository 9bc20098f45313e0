FROM base:1

RUN <<EOF
#!/bin/busybox sh
echo "$0" > /name
EOF
