# Holds what a template is about to render against the schema, in the words of vrrpctl (config/check.py and config/kinds.py, method by
# method): rendering comes before BOSH stops anything.
schema = Class.new do
  def initialize(table)
    @table = table
  end

  # What is given of a section, as `lookup` (p, of the job or of a link) tells it. `beside`: its job is beside another release's.
  def given(section, lookup, beside: false)
    properties = @table['properties'].find { |each| each['name'] == section }['kind']['properties']
    properties.to_h { |one|
      name = "#{section}.#{one['name']}"
      [one['name'], one['required'] ? lookup.call(name) : lookup.call(name, beside ? one['beside'] : nil)]
    }.compact
  end

  # The JSON of `document`, and what vrrpctl makes of it. Raises with the first value that is wrong.
  def checked(document)
    document = JSON.parse(JSON.generate(document, allow_nan: true), allow_nan: true)
    values = object(@table, '', document, 'all', {})
    [JSON.pretty_generate(document), values]
  end

  private

  def refuse(name, value, allowed)
    raise "#{name} is #{written(value)}: #{allowed}"
  end

  def written(value)
    value.nil? ? 'not given' : value.inspect
  end

  def shown(tell, value)
    tell == 'all' || (tell == 'numbers' && [Numeric, TrueClass, FalseClass].any? { |each| value.is_a?(each) }) ? value : '(hidden)'
  end

  def object(kind, name, raw, tell, facts)
    tell = 'numbers' if kind['secret']
    refuse(name, shown(tell, raw), kind['allowed']) unless raw.is_a?(Hash)
    values = {}
    kind['properties'].each do |one|
      key = one['name']
      value = raw[key].nil? ? default(one, name, facts.merge(values)) : raw[key]
      values[key] = value.nil? ? nil : taken(one, full(name, key), value, tell, facts)
      facts = facts.merge(learned(key, raw, values)) if name.empty?
    end
    (raw.keys - values.keys).each { |key| refuse(full(name, key), shown(tell, raw[key]), 'is not a property that this version knows') }
    secrets = kind['properties'].select { |one| one['secret'] }.map { |one| one['name'] }
    kind['rules'].each { |rule| obey(rule, name, facts.merge(values), secrets.include?(rule['on']) ? 'nothing' : tell) }
    values
  end

  def default(one, name, scope)
    refuse(full(name, one['name']), nil, 'must be given') if one['required']
    return one['default'] unless one['derived']
    return scope[one['derived']['same_as']] if one['derived']['same_as']

    _, value = one['derived']['cases'].find { |conditions, _| conditions.all? { |each| holds?(each, scope) } }
    value
  end

  def taken(one, name, value, tell, facts)
    kind = one['kind']
    tell = 'nothing' if one['secret']
    case kind['kind']
    when 'Object'
      return object(kind, name, value, tell, facts)
    when 'Objects'
      refuse(name, shown(tell, value), kind['allowed']) unless value.is_a?(Array) && !(kind['at_least_one'] && value.empty?)
      return value.each_with_index.map { |each, place| object(kind['of'], "#{name}[#{place}]", each, tell, {}) }
    when 'Headers'
      headers(kind, name, value, tell)
    else
      accept(kind, name, value, tell)
    end
    value
  end

  def headers(kind, name, raw, tell)
    refuse(name, shown(tell, raw), kind['allowed']) unless raw.is_a?(Hash)
    raw.each do |key, value|
      accept(kind['names'], name, key, 'nothing')
      refuse("#{name}.#{key}", '(hidden)', kind['reserved_allowed']) if kind['reserved'].include?(key.downcase)
      refuse("#{name}.#{key}", nil, 'must be given') if value.nil?
      accept(kind['of'], "#{name}.#{key}", value, tell)
    end
  end

  def accept(kind, name, value, tell)
    allowed, *entry = problem(kind, value)
    entry.each { |each| allowed = "entry #{written(shown(tell, each))} #{allowed}" }
    refuse(name, shown(tell, value), allowed) if allowed
  end

  def learned(key, raw, values)
    case key
    when 'instance'
      own, group = values['instance']['id'], values['instances']
      {
        'id' => own,
        'ids' => group.map { |each| each['id'] },
        'count' => group.size,
        'peers' => group.reject { |each| each['id'] == own }.map { |each| each['address'] },
        'members' => group.map { |each| ["#{each['name']}/#{each['index']}", address(each['address'])] }
      }
    when 'keepalived'
      interval, version, delay = values[key].values_at('advert_int', 'vrrp_version', 'preempt_delay')
      slowest = slowest_takeover(interval, version, delay)
      plus = delay == 0 ? '' : format(' and preempt_delay %g', delay)
      {
        'slowest' => beside?(raw['vrrp_drain']) ? nil : slowest,
        'takeover' => format('%.2f s at keepalived.advert_int %g', slowest, interval) + plus,
        'ours' => raw[key].any? { |name, value| name != 'vip' && !value.nil? }
      }
    else
      {}
    end
  end

  def beside?(drain)
    drain.is_a?(Hash) && %w[keepalived_config keepalived_pid_file].none? { |file| drain[file].nil? }
  end

  # Master_Down_Interval of the lowest priority (vrrp/timing.py), and what preempt_delay adds.
  def slowest_takeover(advert_int, vrrp_version, preempt_delay)
    share = (256 - @table['lowest_priority']) / 256.0
    3 * advert_int + (vrrp_version == 2 ? share : share * advert_int) + preempt_delay
  end

  def obey(rule, name, scope, tell)
    (rule['each'] ? scope[rule['on']] : [scope[rule['shows'] || rule['on']]]).each do |value|
      inside = rule['each'] ? scope.merge(rule['on'] => value, 'all' => scope[rule['on']]) : scope
      next unless rule['when'].all? { |each| holds?(each, inside) }

      member, = inside.fetch('members', []).find { |_, where| value.is_a?(String) && where == bare(value) }
      allowed = rule['allowed'].gsub(/\{(\w+)\}/) { inside.merge('member' => member)[Regexp.last_match(1)] }
      refuse(full(name, rule['on']), shown(tell, value), allowed)
    end
  end

  def holds?((of, condition, than), scope)
    predicate = condition.delete_prefix('not ')
    value = scope[of]
    return false if value.nil? && predicate != 'given'

    so?(predicate, value, than, scope) == (predicate == condition)
  end

  def so?(predicate, value, than, scope)
    case predicate
    when 'given' then !value.nil? && value != []
    when 'is' then value == than
    when 'above' then value > than
    when 'longer' then scope[than].nil? || value > scope[than]
    when 'whole' then value == value.floor
    when 'hundredths' then (value * 100 - (value * 100 + 0.5).floor).abs < 5e-7
    when 'family' then [*value].any? { |each| (each.include?(':') ? 6 : 4) == than }
    when 'member' then scope['members'].any? { |_, where| where == bare(value) }
    when 'repeated' then [scope[than], *scope['all']].count { |each| bare(each) == bare(value) } > 1
    when 'begins' then value.start_with?(than)
    when 'among' then scope[than].include?(value)
    else raise "no such predicate: #{predicate}"
    end
  end

  # What is allowed instead of a value, and in a list the entry that is not; nil where nothing is wrong.
  def problem(kind, value)
    case kind['kind']
    when 'Address' then problem_of_address(kind, value)
    when 'ListOf' then problem_of_list(kind, value)
    else accepts?(kind, value) ? nil : [kind['allowed']]
    end
  end

  def accepts?(kind, value)
    case kind['kind']
    when 'Boolean' then [true, false].include?(value)
    when 'Integer' then value.is_a?(Integer) && value >= kind['low'] && value <= kind['high']
    when 'Number' then value.is_a?(Numeric) && value >= kind['low'] && value <= kind['high']
    when 'Choice' then kind['values'].any? { |each| value == each && value.class == each.class }
    when 'Text' then text?(kind['pattern'], value)
    when 'Lines' then text?(kind['pattern'], value) && closed?(value)
    when 'Words'
      value.is_a?(Array) && text?(kind['first'], value.first) && value.drop(1).all? { |each| text?(kind['others'], each) }
    else raise "no such kind: #{kind['kind']}"
    end
  end

  def text?(pattern, value)
    found = value.is_a?(String) && Regexp.new("\\A(?:#{pattern})\\z").match(value)
    found ? found.captures.compact.all? { |each| bits, = address(each); bits == 128 } : false
  end

  def closed?(value)
    depth = 0
    value.gsub(/[#!][^\n]*/, '').scan(/[{}]/).all? { |brace| (depth += brace == '{' ? 1 : -1) >= 0 } && depth.zero?
  end

  def problem_of_address(kind, value)
    (bits, number), = identity(kind, value)
    return [kind['allowed']] if bits.nil?

    within = kind['not_unicast'].any? do |each|
      network, length = each.split('/')
      size, first = address(network)
      bits == size && number >> (bits - length.to_i) == first >> (bits - length.to_i)
    end
    within ? [kind['unicast']] : nil
  end

  def problem_of_list(kind, value)
    value = [value] if kind['or_one'] && value.is_a?(String)
    return [kind['allowed']] unless value.is_a?(Array)

    value.each do |each|
      allowed, = problem(kind['of'], each)
      return [allowed, each] if allowed
    end
    identities = value.map { |each| identity(kind['of'], each) }
    place = identities.index { |each| identities.count(each) > 1 }
    place && [kind['twice'], value[place]]
  end

  # What must differ between the entries of a list; of an address itself and its prefix length, nil of what is not of this kind.
  def identity(kind, value)
    return value unless kind['kind'] == 'Address'

    text, slash, digits = value.is_a?(String) ? value.partition('/') : ['', '', '']
    bits, number = address(text)
    return if bits.nil? || (!slash.empty? && !(kind['prefix'] && digits.match?(/\A(?:0|[1-9][0-9]{0,2})\z/)))

    length = slash.empty? ? bits : digits.to_i
    return if length > bits || (kind['network'] && number % (1 << (bits - length)) != 0)

    [[bits, number], length]
  end

  def bare(text)
    address(text.partition('/').first)
  end

  # Bits and number of an address as Python's ipaddress reads it (Ruby's IPAddr takes more), nil of what is none.
  def address(text)
    octet = /(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])/
    dotted = /#{octet}(?:\.#{octet}){3}\z/
    number = ->(quad) { quad.split('.').reduce(0) { |sum, each| sum * 256 + each.to_i } }
    return [32, number.(text)] if text.match?(/\A#{dotted}/)

    halves = text.sub(/(?<=:)#{dotted}/) { |quad| format('%x:%x', *number.(quad).divmod(65_536)) }.split('::', -1)
    groups = halves.map { |half| half.split(':', -1) }
    missing = 8 - groups.sum(&:size)
    return unless halves.size == 1 ? missing == 0 : halves.size == 2 && missing > 0
    return unless groups.flatten.all? { |each| each.match?(/\A[0-9A-Fa-f]{1,4}\z/) }

    [128, groups.insert(1, ['0'] * missing).flatten.reduce(0) { |sum, each| (sum << 16) + each.hex }]
  end

  def full(name, key)
    name.empty? ? key : "#{name}.#{key}"
  end
end
