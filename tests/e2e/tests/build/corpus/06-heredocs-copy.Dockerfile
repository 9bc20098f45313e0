FROM base:1

ENV name=value
COPY <<one <<"two" <<-three /files/
$name 'q' "$name"
one
$name
two
		indented
	three
COPY <<EOF /single.txt
${name:-x}
EOF
COPY --chmod=755 --chown=33:50 <<EOF /script
#!/bin/sh
EOF
