# What jq 1.6 does otherwise than the interpreter's own library, which stands before this. Names that begin
# with __ are natives of ours, or helpers of these definitions.

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
def __name: first((.key, .Key, .name, .Name) | select(.)) // null;
def from_entries: reduce .[] as $entry ({};
    . + ($entry | {(__name): (if has("value") then .value else .Value end)}));
def with_entries(f): [to_entries[] | f] | from_entries;
def paths: path(..) | select(. != []);
def paths(keeps): paths as $path | if getpath($path) | keeps then $path else empty end;
def leaf_paths: paths(scalars);
def walk(f): if isobject then map_values(walk(f)) elif isarray then map(walk(f)) else . end | f;

# Order.
def reverse: [range(length; 0; -1) as $count | .[$count - 1]];
def unique_by(f): group_by(f) | map(.[0]);
def unique: unique_by(.);

# Searching.
def IN(values): . as $sought | any(values; . == $sought);
def IN(sought; values): any(sought | IN(values); .);
def INDEX(rows; name): reduce rows as $row ({};
    .[$row | name | if isstring then . else tojson end] = $row);
def INDEX(name): INDEX(.[]; name);
def ascii: [.] | implode;

# Lists.
def __piece: if isboolean or isnumber then tostring else . // "" end;
def join($between): [.[]] | if . == [] then "" else
    reduce .[1:][] as $next ("" + (.[0] | __piece); . + $between + ($next | __piece)) end;
def flatten($depth): if $depth < 0 then error("flatten depth must not be negative") else
    [.[] | if isarray and $depth > 0 then flatten($depth - 1)[] else . end] end;
def flatten: flatten(infinite);
def transpose: [range(0; [.[] | length] | max // 0) as $row | [.[][$row]]];

# Times.
def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def fromdate: fromdateiso8601;
def todate: todateiso8601;

def localtime: gmtime;
def strflocaltime($format): strftime($format);

# Regular expressions.
def match(re; mode): __match(re; mode; false)[];
def test(re; mode): __match(re; mode; true);
# An expression by itself, or a list of it and its modifiers.
def __expression: if isstring then [., null]
    elif isarray and length > 0 then [.[0], .[1]]
    else error(type + " not a string or array") end;
def match($how): ($how | __expression) as $how | match($how[0]; $how[1]);
def test($how): ($how | __expression) as $how | test($how[0]; $how[1]);
def __named: reduce (.captures[] | select(.name)) as $capture ({}; .[$capture.name] = $capture.string);
def capture(re; mode): match(re; mode) | __named;
def capture($how): match($how) | __named;
def scan(re): match(re; "g") | if .captures == [] then .string else [.captures[].string] end;
def split($separator): __split($separator);
# Of a list of signs, what lies before this match and behind the one before it.
def __between($found; $index):
    (if $index == 0 then 0 else $found[$index - 1] | .offset + .length end) as $from
    | .[$from:($found[$index].offset // length)];
def splits($re; mode): [match($re; "g" + mode)] as $found
    | explode
    | range(0; ($found | length) + 1) as $index
    | __between($found; $index)
    | implode;
def splits($re): splits($re; null);
def split($re; mode): [splits($re; mode)];
def __replaced($found; new): explode as $signs
    | if ($found | length) == 1 then
        ($found[0] | __named | new) as $put
        | ($signs | __between($found; 0) | implode) + $put + ($signs | __between($found; 1) | implode)
      else
        [range(0; ($found | length) + 1) as $index
            | ($signs | __between($found; $index)[]),
              ($found[$index] // empty | __named | new | explode[])]
        | implode end;
def sub($re; new; mode): [match($re; mode)] as $found | __replaced($found; new);
def sub($re; new): sub($re; new; null);
def gsub($re; new; mode): sub($re; new; "g" + mode);
def gsub($re; new): gsub($re; new; null);

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
