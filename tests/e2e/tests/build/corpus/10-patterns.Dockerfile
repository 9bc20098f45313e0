FROM base:1

ENV v=a.tar.gz path=/one/two/three
ENV P1=${v#*.} P2=${v##*.} P3=${v%.*} P4=${v%%.*} P5=${path/two/2} P6=${path//e/E} P7=${v#?} P8=${path##*\/}
