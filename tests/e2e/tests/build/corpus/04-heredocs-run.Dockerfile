FROM base:1

RUN <<EOF
echo "a $PATH" > /a
# no comment
echo b > /b
EOF
RUN <<-'TABS'
	echo tabs > /tabs
	TABS
RUN cat <<ONE > /one && cat <<TWO > /two
first $HOME
ONE
second
TWO
