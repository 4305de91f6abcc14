# What jq 1.6 does otherwise than the interpreter's own library, which stands before this, mostly as
# jq 1.6 defines it. jq is Copyright (C) 2012 Stephen Dolan:
#
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
# associated documentation files (the "Software"), to deal in the Software without restriction,
# including without limitation the rights to use, copy, modify, merge, publish, distribute,
# sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
# furnished to do so, subject to the following conditions:
#
# The above copyright notice and this permission notice shall be included in all copies or
# substantial portions of the Software.
#
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
# NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
# NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
# OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
# CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

# Selecting.
def recurse_down: recurse;
def isboolean: type == "boolean";
def isnumber: type == "number";
def isstring: type == "string";
def isarray: type == "array";
def isobject: type == "object";
def values: select(. != null);
def nulls: select(. == null);
def booleans: select(isboolean);
def numbers: select(isnumber);
def strings: select(isstring);
def arrays: select(isarray);
def objects: select(isobject);
def iterables: select(isarray or isobject);
def scalars: select(isarray or isobject | not);
def isnan: isnumber and . != .;
def isinfinite: if isnumber then . == infinite or . == -infinite else error("number required") end;
def isfinite: isnumber and (isinfinite | not);
def finites: select(isinfinite or isnan | not);
def normals: select(isnormal);
def add: reduce .[] as $x (null; . + $x);

# What goes over a whole text or list pays for it.
def explode: __pass | __pass | __explode;
def implode: __pass | __implode;
def ascii_downcase: __pass | __ascii_downcase;
def ascii_upcase: __pass | __ascii_upcase;
def sort: __small | __sort;
def sort_by(f): __sort_by(f | __small);
def group_by(f): __group_by(f | __small);
def min_by(f): reduce __min_by_or_empty(f | __small) as $x (null; $x);
def max_by(f): reduce __max_by_or_empty(f | __small) as $x (null; $x);
def min: min_by(.);
def max: max_by(.);
def keys_unsorted: __pass | __keys_unsorted;
def keys: keys_unsorted | sort;
def bsearch($x): __small | __bsearch($x);

# Paths and updates.
def map_values(f): .[] |= f;
def del(f): delpaths([path(f)]);
def to_entries: [keys_unsorted[] as $k | {key: $k, value: .[$k]}];
def from_entries:
    map({(.key // .Key // .name // .Name): (if has("value") then .value else .Value end)})
    | add | . //= {};
def with_entries(f): to_entries | map(f) | from_entries;
def paths: path(..) | select(length > 0);
def paths(node_filter): . as $dot | paths | select(. as $p | $dot | getpath($p) | node_filter);
def leaf_paths: paths(scalars);
def walk(f):
    . as $in
    | if type == "object" then
        reduce keys_unsorted[] as $key ({}; . + {($key): ($in[$key] | walk(f))}) | f
      elif type == "array" then map(walk(f)) | f
      else f end;
def tostream:
    {string: true, number: true, boolean: true, null: true} as $leaf_types
    | . as $dot
    | if $leaf_types[$dot | type] or length == 0 then [[], $dot]
      else
        keys_unsorted as $keys
        | $keys[-1] as $last
        | ($keys[] | . as $key | $dot[$key] | . as $dot | tostream | .[0] |= [$key] + .), [[$last]]
      end;
def fromstream(i):
    foreach i as $item ([null, false, null, false];
        if ($item[0] | length) == 0 then [null, false, .[2], .[3]]
        elif ($item | length) == 1 and ($item[0] | length) < 2 then [null, false, .[0], .[1]]
        else . end
        | . as $state
        | if ($item | length) > 1 and ($item[0] | length) > 0 then
            [.[0] | setpath(($item | .[0]); ($item | .[1])), true, $state[2], $state[3]]
          else . end;
        if ($item[0] | length) == 1 and ($item | length == 1) and .[3] then .[2] else empty end,
        if ($item[0] | length) == 0 then $item[1] else empty end);
def truncate_stream(stream):
    . as $n | null | stream | . as $input
    | if (.[0] | length) > $n then setpath([0]; $input[0][$n:]) else empty end;

# Order.
def unique: group_by(.) | map(.[0]);
def unique_by(f): [group_by(f)[] | .[0]];
def reverse: [.[length - 1 - range(0; length)]];

# Searching.
def index($i): indices($i) | .[0];
def rindex($i): indices($i) | .[-1:][0];
def any(generator; condition):
    [label $out | foreach generator as $i (false;
        if . then break $out elif $i | condition then true else . end;
        if . then . else empty end)] | length == 1;
def any(condition): any(.[]; condition);
def any: any(.);
def all(generator; condition):
    [label $out | foreach generator as $i (true;
        if . | not then break $out elif $i | condition then . else false end;
        if . | not then . else empty end)] | length == 0;
def all(condition): all(.[]; condition);
def all: all(.);
def in(xs): . as $x | xs | has($x);
def inside(xs): . as $x | xs | contains($x);
def IN(s): reduce (first(select(. == s)) | true) as $v (false; if . or $v then true else false end);
def IN(src; s): reduce (src | IN(s)) as $v (false; if . or $v then true else false end);
def INDEX(stream; idx_expr):
    reduce stream as $row ({}; .[$row | idx_expr | if type != "string" then tojson else . end] |= $row);
def INDEX(idx_expr): INDEX(.[]; idx_expr);
def JOIN($idx; idx_expr): [.[] | [., $idx[idx_expr]]];
def JOIN($idx; stream; idx_expr): stream | [., $idx[idx_expr]];
def JOIN($idx; stream; idx_expr; join_expr): stream | [., $idx[idx_expr]] | join_expr;
def ascii: [.] | implode;

# Lists.
def join($x):
    reduce .[] as $i (null;
        (if . == null then "" else . + $x end)
        + ($i | if type == "boolean" or type == "number" then tostring else . // "" end)
    ) // "";
def _flatten($x):
    reduce .[] as $i ([];
        if $i | type == "array" and $x != 0 then . + ($i | _flatten($x - 1)) else . + [$i] end);
def flatten($x): if $x < 0 then error("flatten depth must not be negative") else _flatten($x) end;
def flatten: _flatten(-1);
def transpose:
    if . == [] then []
    else . as $in
        | (map(length) | max) as $max
        | length as $length
        | reduce range(0; $max) as $j ([]; . + [reduce range(0; $length) as $i ([]; . + [$in[$i][$j]])])
    end;
def combinations:
    if length == 0 then []
    else .[0][] as $x | (.[1:] | combinations) as $y | [$x] + $y end;
def combinations(n): . as $dot | [range(n) | $dot] | combinations;

# Times.
def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def fromdate: fromdateiso8601;
def todate: todateiso8601;

def localtime: gmtime;
def strflocaltime($format): strftime($format);

# Regular expressions.
def match(re; mode): __match(re; mode; false) | .[];
def _regex(f):
    type as $t
    | if $t == "string" then [., null] | f
      elif $t == "array" and length > 1 then f
      elif $t == "array" and length > 0 then [.[0], null] | f
      else error($t + " not a string or array") end;
def match($val): . as $in | $val | _regex(. as $v | $in | match($v[0]; $v[1]));
def test(re; mode): __match(re; mode; true);
def test($val): . as $in | $val | _regex(. as $v | $in | test($v[0]; $v[1]));
def _captured: reduce (.captures | .[] | select(.name != null) | {(.name): .string}) as $pair ({}; . + $pair);
def capture(re; mods): match(re; mods) | _captured;
def capture($val): . as $in | $val | _regex(. as $v | $in | capture($v[0]; $v[1]));
def scan(re):
    match(re; "g") | if (.captures | length > 0) then [.captures | .[] | .string] else .string end;
def _nwise($n): def n: if length <= $n then . else .[0:$n], (.[$n:] | n) end; n;
def split($separator): __split($separator);
def splits($re; flags):
    . as $s
    | [match($re; "g" + flags) | (.offset, .offset + .length)]
    | [0] + . + [$s | length]
    | _nwise(2)
    | $s[.[0]:.[1]];
def splits($re): splits($re; null);
def split($re; flags): [splits($re; flags)];
def sub($re; s):
    . as $in
    | [match($re)]
    | if length == 0 then $in
      else .[0] | . as $r | _captured | $in[0:$r.offset] + s + $in[$r.offset + $r.length:] end;
def sub($re; s; flags):
    def subg: [explode[] | select(. != 103)] | implode;
    def sub1(fla; gs):
        def mysub:
            . as $in
            | [match($re; fla)]
            | if length == 0 then $in
              else .[0] as $edit
                | ($edit | .offset + .length) as $len
                | $edit | _captured
                | $in[0:$edit.offset]
                    + s
                    + ($in[$len:] | if length > 0 and gs then mysub else . end)
              end;
        mysub;
    (flags | index("g")) as $gs
    | (flags | if $gs then subg else . end) as $fla
    | sub1($fla; $gs);
def gsub($re; s; flags): sub($re; s; flags + "g");
def gsub($re; s): sub($re; s; "g");

# Formats.
def @text: __text;
def @json: tojson;
def @html: __text | __escape_html;
def @base64: __text | __encode_base64;
def @base64d: __text | __decode_base64;
def _row(separator; quoted):
    map(if type == "string" then quoted
        elif . == null or (isnumber and isnan) then ""
        elif isarray or isobject then error("is not valid in a row")
        else __text end)
    | join(separator);
def @csv:
    if isarray then _row(","; "\"" + (split("\"") | join("\"\"")) + "\"")
    else error("cannot be csv-formatted, only array") end;
def @tsv:
    def escaped($from; $to): split($from) | join($to);
    if isarray then
        _row("\t"; escaped("\\"; "\\\\") | escaped("\t"; "\\t") | escaped("\n"; "\\n") | escaped("\r"; "\\r"))
    else error("cannot be tsv-formatted, only array") end;
def @sh:
    [if isarray then .[] else . end
        | if isstring then "'" + (split("'") | join("'\\''")) + "'"
          elif isarray or isobject then error("can not be escaped for shell")
          else __text end]
    | join(" ");
