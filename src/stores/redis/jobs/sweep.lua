-- ARGV: kind.
local kind = ARGV[6]
advance(kind)
trim(kind)
return { text(now), next_time(kind), changed }
