# Prints what the package lists say of every version of the packages whose names are the lines of $JOB/names.
export LC_ALL=C.UTF-8
xargs apt-cache show --all-versions -- <"$JOB/names"
